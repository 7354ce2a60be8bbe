"""What KAITO's launch lines start. See docs/images.md."""

from berth.cli.kaito import inference_api

inference_api()
