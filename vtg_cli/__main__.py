"""`python -m vtg_cli`, for launchers such as `torchrun -m vtg_cli train`."""

from vtg_cli.main import main

if __name__ == "__main__":
    main()
