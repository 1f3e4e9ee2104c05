"""The losses of section 3.6, one file per loss, and the criterion that adds them up."""

from model.losses.alignment import alignment_loss
from model.losses.assignment import Assignment, assign_points
from model.losses.clip_aware import clip_aware_loss
from model.losses.criterion import Criterion, LossTerms, Targets
from model.losses.existence import existence_loss
from model.losses.focal import focal_loss, quality_focal_loss, saliency_classification_loss
from model.losses.nce import sampled_nce_loss
from model.losses.negatives import foreign_pairs, negative_index
from model.losses.regression import offset_iou, offset_loss
from model.losses.saliency import rank_contrast, saliency_hinge, saliency_loss

__all__ = [
    "Assignment",
    "Criterion",
    "LossTerms",
    "Targets",
    "alignment_loss",
    "assign_points",
    "clip_aware_loss",
    "existence_loss",
    "focal_loss",
    "foreign_pairs",
    "negative_index",
    "offset_iou",
    "offset_loss",
    "quality_focal_loss",
    "rank_contrast",
    "saliency_classification_loss",
    "saliency_hinge",
    "saliency_loss",
    "sampled_nce_loss",
]
