"""Start the server: load everything once, find a free port, say where it is."""

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import NoReturn

from ..commands.arguments import CommandParser
from ..commands.termination import TERMINATED
from ..errors import UserError


# Of who has cloned the repository and made the demo; elsewhere the arguments or variables say.
DEMO_ENCODER, DEMO_COLLECTION = "outputs/demo/encoder", "scripts/demo_data"
PORTS_TRIED = 50

# Gradio reads these when it is imported or when it starts: nothing is reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def make_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="mrd-hf app",
        description="Serve a page that classifies and searches shapes.",
        epilog="Each argument's default is the environment variable that its help names, where that is set.",
    )
    parser.add_argument(
        "--model",
        default=os.environ.get("MRD_MODEL", DEMO_ENCODER),
        help=f"the encoder: a folder or an id on the Hub (MRD_MODEL; default: {DEMO_ENCODER}, of `make demo`)",
    )
    parser.add_argument(
        "--collection",
        default=os.environ.get("MRD_COLLECTION", DEMO_COLLECTION),
        help="triplet dataset to pick from and to search: a folder or an id on the Hub (MRD_COLLECTION; default: "
        f"{DEMO_COLLECTION})",
    )
    parser.add_argument(
        "--text-tower",
        "--teacher",
        default=os.environ.get("MRD_TEXT_TOWER"),
        help="the encoder's teacher, or its text side: a folder or an id on the Hub (MRD_TEXT_TOWER; default: as the "
        "encoder's configuration says)",
    )
    parser.add_argument(
        "--index",
        type=Path,
        default=os.environ.get("MRD_INDEX", "outputs/app/index"),
        help="folder that keeps the collection's embeddings for the next start (MRD_INDEX; default: "
        "outputs/app/index)",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        help="address to listen at (GRADIO_SERVER_NAME; default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("GRADIO_SERVER_PORT", "7860"),
        help="port to listen at; where it is in use, the next one (GRADIO_SERVER_PORT; default: 7860)",
    )
    return parser


def _port(text: str) -> int:
    """A port from 1 to 65535; argparse names the option in front of the message."""
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is no port; give a number from 1 to 65535")
    return port


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until interrupted.

    Args:
        argv (sequence of `str`, *optional*): Options; those of the process by default.
    """
    arguments = make_parser().parse_args(argv)
    if ":" in arguments.host:
        raise UserError(
            f"--host {arguments.host}: addresses of IPv6 are not served; give one of IPv4, such as 0.0.0.0."
        )
    for option, default in (("model", DEMO_ENCODER), ("collection", DEMO_COLLECTION)):
        if getattr(arguments, option) == default and not Path(default).is_dir():
            raise UserError(f"there is no {default} here; give --{option} as a folder or an id on the Hub.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that the folder goes as well
    with tempfile.TemporaryDirectory(prefix="mrd-app-") as folder:
        serve(arguments, Path(folder))


def serve(arguments: argparse.Namespace, folder: Path) -> None:
    """Serve until interrupted; `folder` holds what the page shows, and the uploads."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(f"the page needs Gradio: pip install 'mrd-hf[app]' ({error}).") from None
    from PIL import Image
    from starlette.middleware import Middleware

    from .collection import Collection
    from .engine import Engine
    from .layout import CLEANING_SECONDS, MAX_SESSIONS, build_page, theme
    from .page import Page, ViewFiles
    from .request_limits import MAX_UPLOAD, RequestLimits
    from .shape_reading import ShapeReader

    Image.MAX_IMAGE_PIXELS = 2**25  # Pillow refuses twice as many
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request of the server's to itself
    (folder / "shown").mkdir()
    collection = Collection(arguments.collection, folder / "shown")
    engine = Engine(arguments.model, arguments.text_tower, collection, arguments.index)
    reader = ShapeReader(engine.num_points, engine.up_axis)
    reader.warm_up()
    blocks = build_page(Page(engine, reader, ViewFiles(folder / "shown")))
    port = free_port(arguments.host, arguments.port)
    blocks.launch(
        server_name=arguments.host,
        server_port=port,
        app_kwargs={"middleware": [Middleware(RequestLimits)], "docs_url": None, "redoc_url": None},
        max_file_size=MAX_UPLOAD,
        state_session_capacity=MAX_SESSIONS,
        theme=theme(),
        css_paths=[Path(__file__).with_name("style.css")],
        js=Path(__file__).with_name("names.js").read_text(),
        footer_links=["gradio"],
        allowed_paths=[],
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    everywhere = arguments.host == "0.0.0.0"  # noqa: S104 (what was asked for; the default is this machine)
    shown_host = "127.0.0.1" if everywhere else arguments.host
    print(f"The page is at http://{shown_host}:{port} (Ctrl-C ends it).", flush=True)
    try:
        keep_clean(folder / "gradio", CLEANING_SECONDS)
    finally:
        blocks.close(verbose=False)


def keep_clean(folder: Path, seconds: float) -> NoReturn:
    """Wait, and delete every so many seconds what uploads have left in Gradio's folder."""
    while True:
        sleep(seconds)
        remove_unfinished(folder, seconds)


def remove_unfinished(folder: Path, seconds: float) -> None:
    """Delete files that lie in Gradio's folder itself and were not written to for so many seconds.

    They are of uploads that broke off, and of form fields that Gradio does not read; it forgets both. A finished
    upload lies in a folder of its own, and Gradio deletes it.
    """
    for file in folder.glob("*"):
        with suppress(OSError):  # an upload is moved when it is finished
            if file.is_file() and time.time() - file.stat().st_mtime > seconds:
                file.unlink()


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that nothing listens at.

    Raises:
        UserError: There is none among `PORTS_TRIED`, or the host is not this machine's.
    """
    problem: OSError | None = None
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        try:
            # Gradio looks for a free port on this machine's own address, whatever it listens at.
            for address in dict.fromkeys((host, "127.0.0.1")):
                with socket.socket(socket.AF_INET) as candidate:
                    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
                    candidate.bind((address, port))
            return port
        except (OSError, OverflowError) as error:
            problem = error if isinstance(error, OSError) else OSError(str(error))
    raise UserError(f"no free port at {host} from {first} on ({problem}); give another by --port or --host.")
