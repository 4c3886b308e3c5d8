"""The order of things: plan, export, evaluate, time, and the document that comes of it."""
