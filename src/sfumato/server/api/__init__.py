"""Routes and wire shapes, a dialect a module."""
