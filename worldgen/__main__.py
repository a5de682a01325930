"""``python -m worldgen`` and the ``worldgen`` command."""

from worldgen.cli import main

if __name__ == "__main__":
    main()
