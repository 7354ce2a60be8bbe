"""One small file per HTTP dialect: parse, hand to serving, render."""
