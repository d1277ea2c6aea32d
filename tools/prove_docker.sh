#!/usr/bin/env bash
# Proves a recipe of docker/ on a machine without a Docker engine: runs its steps in a fresh Debian root, then
# `gpuseg doctor` and `gpuseg demo` in it, as the user it names and as one that nobody has heard of.
#
#   tools/prove_docker.sh [RECIPE [FOLDER]]     as root; docker/cpu.Dockerfile and a new folder, which is removed
#
# Needs debootstrap. In place of the image behind FROM stands Debian's own Python of the same version, in /usr/local
# as there. Packages come from where apt and pip of this machine take them.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/.." && pwd)
recipe=$(realpath "${1:-$checkout/docker/cpu.Dockerfile}")
if [ -z "${PROVE_DOCKER_INSIDE:-}" ]; then # mounts of our own, gone when we are
    exec env PROVE_DOCKER_INSIDE=1 unshare --mount --propagation private "$0" "$recipe" "${@:2}"
fi
root=${2:-$(mktemp -d)}
[ $# -gt 1 ] || trap 'umount -R "$root/proc" "$root/dev" 2>/dev/null; rm -rf --one-file-system "$root"' EXIT
cwd=/ user=0:0 entry='' settings=(PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin)
client=(PIP_QUIET=1) # how this machine reaches packages; for building only
for name in $(compgen -e | grep -E '^(PIP_|SSL_CERT_FILE$|(https?|no)_proxy$|(HTTPS?|NO)_PROXY$)'); do
    client+=("$name=${!name}")
done

say() { printf '\n== %s\n' "$*"; }
fail() { printf '%s: %s\n' "$recipe" "$*" >&2; exit 1; }
inside() { # USER COMMAND [SETTING ...]: as a container would run it, with no setting but the recipe's
    env -i "${settings[@]}" "${@:3}" chroot --userspec="$1" "$root" /bin/sh -c "cd $cwd && $2"
}

base() { # IMAGE, such as python:3.11-slim-bookworm
    local suite=${1##*-} version=${1#python:} site
    version=${version%%-*}
    site=$(apt-get indextargets --format '$(CODENAME) $(SITE)' 'Created-By: Packages' |
        sed -n "s/^$suite //p" | head -1)
    [ -n "$site" ] || fail "apt of this machine has no $suite for FROM $1"
    chmod 755 "$root"
    say "FROM $1: Debian $suite with its Python $version"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$root" "$site" >/dev/null
    mount --rbind --make-rprivate /dev "$root/dev"
    mount -t proc proc "$root/proc"
    local file
    for file in /etc/{resolv.conf,hosts,pip.conf} ~/.config/pip/pip.conf "${PIP_CERT:-}" "${SSL_CERT_FILE:-}"; do
        [ ! -f "$file" ] || install -D -m 644 "$(realpath "$file")" "$root$file"
    done
    inside 0:0 'python3 -m venv /usr/local && python --version'
    [ -e "$root/usr/bin/python$version" ] || fail "Debian $suite has no Python $version, as FROM $1 asks"
}

copy() { # . TARGET: what .dockerignore lets through, a list of what is wanted
    [ "$1" = . ] || fail "COPY $1: only COPY . is known here"
    mkdir -p "$root$2"
    cd "$checkout"
    tar -c --exclude=__pycache__ --owner=0 --group=0 $(sed -n 's/^!//p' .dockerignore) | tar -x -C "$root$2"
}

step() { # one instruction of the recipe
    local rest=${1#* } pair
    case $1 in
        FROM\ *) base "$rest" ;;
        ARG\ *=*) settings+=("$rest") ;;
        ENV\ *) for pair in $rest; do settings+=("$pair"); done ;;
        COPY\ *) say "$1"; copy $rest ;;
        RUN\ *) say "$1"; inside "$user" "$rest" "${client[@]}" ;;
        WORKDIR\ *) cwd=$rest; mkdir -p "$root$cwd" ;;
        USER\ *) user=$rest ;;
        ENTRYPOINT\ *) entry=$(tr -d '[]",' <<<"$rest") ;;
        STOPSIGNAL\ * | CMD\ *) ;; # nothing to run
        *) fail "not known here: $1" ;;
    esac
}

prove() { # USER: what a user does first, and whom the results belong to
    say "as $1: $entry doctor"
    inside "$1" "$entry doctor"
    say "as $1: $entry demo"
    inside "$1" "$entry demo -o /data/demo-${1%:*}"
    local results="$root/data/demo-${1%:*}"
    [ "$(stat -c %u:%g "$results/overview.png")" = "$1" ] || fail "results do not belong to $1"
    [ -n "$(find "$root/cache" -user "${1%:*}" -name '*.nbi' -print -quit)" ] || fail "$1 keeps no compiled code"
    ! inside "$1" "touch /usr/local/touched" 2>/dev/null || fail "$1 may change the installation"
    rm -rf "${root:?}/cache/.cache" # a new container has an empty cache
}

while IFS= read -r line <&3; do step "$line"; done 3< <(grep -v -e '^#' -e '^$' "$recipe")
[ "$user" != 0:0 ] || fail "runs as root"
[ ! -e "$root/src" ] || fail "leaves the sources behind"
say "installed: $(du -sh "$root/usr/local" | cut -f1); pip check"
inside 0:0 'pip check'
prove "$user"
prove 54321:54321
say "proven: ${recipe#"$checkout"/}"
