"""FlashVTG, one file per part of figure 2 of the paper."""
