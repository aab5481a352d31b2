"""Text in, text out: records, constitution, formats, critiques, revisions, AI feedback, readers."""
