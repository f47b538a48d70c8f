"""`python -m jaxcaps.serve`: a page in the browser to try a fine-tuned run on pictures of one's own."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from jaxcaps.commands import read_flags, run_command
from jaxcaps.plan.flags import home


@dataclass(frozen=True)
class Flags:
    restore: str
    """folder of a fine-tuned run, or the run as a file: FILE.jaxcaps or FILE.safetensors"""
    host: str = "127.0.0.1"
    """address to listen on; with the default, only this machine reaches the page"""
    port: Annotated[int, Interval(ge=1, le=65535)] = 7860
    """port to listen on"""
    most_megabytes: Annotated[int, Interval(ge=1, le=10_000)] = 50
    """maximum size of an uploaded picture, in MB"""


def main() -> None:
    flags = read_flags(
        Flags, "serve", "Serves a page that classifies the pictures dropped on it. Not a medical device."
    )
    from jaxcaps.serving.server import serve

    serve(home(flags.restore), flags.host, flags.port, flags.most_megabytes)


if __name__ == "__main__":
    run_command(main)
