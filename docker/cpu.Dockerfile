# gpuseg without a GPU. From the checkout:  docker build -f docker/cpu.Dockerfile -t gpuseg:cpu .
FROM python:3.11-slim-bookworm
COPY . /src
RUN PIP_CONSTRAINT=/src/constraints.txt pip install --no-cache-dir /src && rm -r /src
# Compiled code is kept below HOME. Whoever runs this with --user has no home of their own.
RUN install -d -m 1777 /cache /data
ENV HOME=/cache
WORKDIR /data
USER 1000:1000
# Python as the first process of a container ignores SIGTERM; on SIGINT gpuseg stops and leaves no half files.
STOPSIGNAL SIGINT
ENTRYPOINT ["gpuseg"]
CMD ["--help"]
