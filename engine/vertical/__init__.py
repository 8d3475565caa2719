"""Models across organisations that hold different columns of partly the same customers."""

from engine.vertical.glm import GlmPart, LogisticRegression

__all__ = ["GlmPart", "LogisticRegression"]
