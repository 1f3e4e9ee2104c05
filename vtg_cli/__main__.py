"""`python -m vtg_cli`, where the `vtg` command is not on the path."""

from vtg_cli.main import main

if __name__ == "__main__":
    main()
