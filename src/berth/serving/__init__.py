"""One model service: tokenise, template, stream, stop; supervises the engine. No torch."""
