"""`python -m larpo_lib` is `larpo`."""

from larpo_lib.cli import main

if __name__ == "__main__":
    main()
