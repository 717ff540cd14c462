"""The sub-commands of `pydl.cli` that train and use models."""
