"""Numbers that say whether maps and rankings are right."""

from captum_tfa.metrics.localisation import saliency, share_of_top_inside

__all__ = ["saliency", "share_of_top_inside"]
