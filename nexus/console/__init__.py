"""The Django admin as Nexus's console: the door of operators."""
