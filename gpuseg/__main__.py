"""`python -m gpuseg`."""

from gpuseg.cli import main

if __name__ == "__main__":
    main()
