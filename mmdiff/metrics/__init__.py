"""Numbers for samples and sets of them; no modality, no model, no file format."""
