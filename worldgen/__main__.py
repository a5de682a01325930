"""``python -m worldgen`` and the ``worldgen`` command."""

from worldgen.cli.main import main

if __name__ == "__main__":
    main()
