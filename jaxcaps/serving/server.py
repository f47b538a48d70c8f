"""Serves the page."""

import logging
import os
import tempfile
from pathlib import Path

import jax

from jaxcaps.errors import UserError
from jaxcaps.inference.model import load_classifier
from jaxcaps.packages import is_installed

log = logging.getLogger("jaxcaps")


def serve(restore: Path, host: str, port: int, most_megabytes: int) -> None:
    """Serves the page of a fine-tuned run until it is interrupted.

    Args:
        restore: the run.
        host, port: the address to listen on.
        most_megabytes: the maximum size of an uploaded picture in MB.

    Raises:
        UserError: Gradio is not installed, the run is not a finished classifier, or it cannot listen at the
            address.
    """
    if not is_installed("gradio"):
        raise UserError("the page needs Gradio; install it with pip install 'jaxcaps[serve]'")
    model = load_classifier(restore, batch_size=jax.device_count())
    with tempfile.TemporaryDirectory(prefix="jaxcaps-serve-") as uploads:
        # Gradio reads them when it is imported.
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "0"}
        from jaxcaps.serving.page import THEME, Page

        blocks = Page(model, model.origin.title).blocks
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                max_file_size=f"{most_megabytes}mb",
                theme=THEME,
                share=False,
                quiet=True,
                footer_links=[],
                enable_monitoring=False,
                ssr_mode=False,
                prevent_thread_lock=True,
            )
        except OSError:
            # Gradio does not say which.
            raise UserError(
                f"--host={host} --port={port}: cannot listen there; the port is taken or not allowed, or the host is "
                "not an address of this machine. Give another --port or --host"
            ) from None
        log.info("The page of %s: http://%s:%d (Ctrl-C ends it)", restore, host, port)
        blocks.block_thread()
