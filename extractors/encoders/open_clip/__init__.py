"""Any model of open_clip, by its name there: frames and queries in one space."""

from extractors.encoders.entry import FeatureFamily

FAMILY = FeatureFamily(
    prefix="open_clip",
    form="open_clip:MODEL/PRETRAINED",
    row="image features after the projection, not normalised",
    network="a model of open_clip (named like the features), each with a licence of its own",
    download="named like the features",
    good_for="anything a frame shows; many models are better than `clip`, and most are slower",
    feature="extractors.encoders.open_clip.family:open_clip_feature",
)
