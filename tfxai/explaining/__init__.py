"""From a method and a model to maps and a record: the Explainer, and what runs it."""
