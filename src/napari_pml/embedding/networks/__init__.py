"""The networks that embed frames."""
