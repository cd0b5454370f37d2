"""The command ``captum-tfa``."""
