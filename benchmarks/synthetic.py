"""Write the synthetic dataset, for training without a download.

python benchmarks/synthetic.py FOLDER [--train 800] [--val 200] [--gain 7] [--seed 2024]
vtg train --config benchmarks/synthetic.toml --data FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.synthetic_data import SyntheticSpec, write_synthetic


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=800, help="queries to learn from")
    parser.add_argument("--val", type=int, default=200, help="queries to score on")
    parser.add_argument("--gain", type=float, default=7.0, help="strength of the signal; less is harder")
    parser.add_argument("--seed", type=int, default=2024)
    arguments = parser.parse_args()
    spec = SyntheticSpec(
        train_queries=arguments.train, val_queries=arguments.val, gain=arguments.gain, seed=arguments.seed
    )
    write_synthetic(arguments.folder, spec)


if __name__ == "__main__":
    main()
