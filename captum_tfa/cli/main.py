"""``captum-tfa``: which parts of which training images made my model say this?

Nothing heavy is imported before a command is known to be asked for rightly, so help and
errors of spelling come at once.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn, TextIO

from captum_tfa import __version__
from captum_tfa.cli.errors import UserError, one_line
from captum_tfa.cli.options import (
    add_computing,
    add_model,
    add_score,
    whole,
    whole_or_all,
)
from captum_tfa.cli.output import finish, say

_EXPLAIN_EPILOG = """
how pictures are prepared:
  A torchvision model gets its pictures as its own published weights want them, one of timm or
  transformers as its own configuration says. A model of yours says it itself: the factory sets
  model.preprocess to the transform (PIL image to tensor) that its evaluation used. Without that,
  pictures are prepared as for torchvision's
  classifiers: shorter side 256, centre 224 x 224, ImageNet's mean and deviation.

example:
  captum-tfa explain --data pets --model resnet18 --weights pets.pt --image odd.jpg \\
    --label cat --out why
"""

_DEMO_EPILOG = """
Without --data: draws a small set of pictures in which nearly all training pictures of one
class carry a coloured patch, trains a small CNN on them, and explains a test picture that
the patch makes wrong. With --data: trains the small CNN on your pictures, made small
(32 to 64 pixels a side), and explains its most confident mistake on DIR/test or DIR/val, or
on a tenth of the pictures held out if there is neither.
"""

_AUDIT_EPILOG = """
An audit that was stopped, in whatever way, goes on when the same command is given again: results of
each mistake are kept in OUT/progress as they come, and a folder of another model, other data or
other settings is refused.

--retrain-check takes a function of yours, train(dataset, seed), which trains a new model on a data
set of (image, label) and returns it in evaluation mode; the same data and seed must give the same
model. It is called 2 x N times without the suspects, or as many random images, and 2 x N times with
the regions of the suspects, or of as many random images, covered. The images come as --model
prepares them.

example:
  captum-tfa audit --data pets --test pets/test --model resnet18 --weights pets.pt --out audit
"""

_INDEX_EPILOG = """
A build that was stopped, in whatever way, goes on when the same command is given again. Images
that were added at the end of the data set are appended. Several processes share the work:
  torchrun --nproc-per-node 4 -m captum_tfa index build DIR --data ... --model ... --weights ...

example:
  captum-tfa index build pets-index --data pets --model resnet18 --weights pets.pt
  captum-tfa explain --index pets-index --data pets --model resnet18 --weights pets.pt \\
    --image odd.jpg --out why

  captum-tfa index build steps --checkpoints 1.pt 2.pt --data pets --model resnet18 \\
    --weights pets.pt
  captum-tfa explain --index steps --score tracin --checkpoints 1.pt 2.pt --data pets \\
    --model resnet18 --weights pets.pt --image odd.jpg --out why
"""


class _Parser(argparse.ArgumentParser):
    """Leaves errors to `main`, so that all of them look the same."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help tells more)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Its arguments. None: those of the process.

    Returns:
        The exit status: 0, 2 after an error that the user can put right, 130 after Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            given = sys.argv[1:] if argv is None else list(argv)
            options = _parser().parse_args(given)
            options.command_line = shlex.join(["captum-tfa", *given])
            _run(options)
        except UserError as error:
            say(f"captum-tfa: error: {error}", sys.stderr)
            return 2
        except KeyboardInterrupt:
            say("\ncaptum-tfa: stopped", sys.stderr)
            return 130
        finally:
            finish()
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "explain":
        from captum_tfa.cli import explain

        explain.run(options)
    elif options.command == "audit":
        from captum_tfa.cli import audit

        audit.run(options)
    elif options.command == "index":
        from captum_tfa.cli import index

        index.run(options)
    else:
        from captum_tfa.cli import demo

        demo.run(options)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"captum-tfa: warning: {one_line(message)}", sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="captum-tfa",
        description="Which parts of which training images made my model say this?",
    )
    parser.add_argument("--version", action="version", version=f"captum-tfa {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_explain(commands)
    _add_audit(commands)
    _add_index(commands)
    _add_demo(commands)
    return parser


def _add_explain(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "explain",
        help="explain what your model says about an image",
        description="Finds the training images that speak most for and against a label of an "
        "image, and the pixels in them, and in your image, that do it.",
        epilog=_EXPLAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_model(add)
    add("--image", metavar="FILE", required=True, help="the image to explain")
    add(
        "--label",
        metavar="NAME",
        help="ask why the model did not say this class (default: why it said what it says)",
    )
    add(
        "--top",
        metavar="N",
        type=whole(1),
        default=5,
        help="how many images for, and how many against (default: %(default)s)",
    )
    add_score(add)
    add(
        "--method",
        metavar="NAME",
        help="what the maps are: gradient (the paper's), gradient_x_input, integrated_gradients, "
        "integrated_gradients_norm_held or occlusion (default: occlusion); "
        "several, with commas between them, can be switched in the report",
    )
    add(
        "--layer",
        metavar="NAME",
        help="map this layer of the model, e.g. layer4, instead of the pixels",
    )
    add_computing(add)
    add(
        "--seed",
        metavar="N",
        type=whole(0, 2**64 - 1),
        default=0,
        help="seed of the noise (default: %(default)s)",
    )
    add(
        "--out",
        metavar="DIR",
        required=True,
        help="folder for report.html, figure.png, explanation.json and maps.safetensors",
    )
    add("--open", action="store_true", help="show the report in the browser")


def _add_audit(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "audit",
        help="find what is behind all mistakes of your model on a test set",
        description="Explains the mistakes on a labelled test set, and finds what they share: "
        "training images, regions of these that come up again and again, and labels that may be "
        "wrong.",
        epilog=_AUDIT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add_model(add)
    add(
        "--test",
        metavar="DIR",
        help="the labelled test images, a folder a class or a .csv file as for --data (default: "
        "test or val beside DIR/train)",
    )
    add(
        "--max-mistakes",
        metavar="N",
        type=whole_or_all,
        default=100,
        help="how many mistakes are explained, the surest first, or all (default: %(default)s)",
    )
    add(
        "--top",
        metavar="N",
        type=whole(1),
        default=10,
        help="how many opponents of each mistake are mapped (default: %(default)s)",
    )
    add(
        "--controls",
        metavar="N",
        type=whole(1),
        default=19,
        help="how often the search for regions is repeated with what chance gives, to tell how "
        "strong a region must be to stand out (default: %(default)s)",
    )
    add_score(add)
    add(
        "--method",
        metavar="NAME",
        help="what the maps are: gradient, gradient_x_input, integrated_gradients, "
        "integrated_gradients_norm_held or occlusion (default: occlusion)",
    )
    add_computing(add)
    add(
        "--seed",
        metavar="N",
        type=whole(0, 2**63 - 1),
        default=0,
        help="seed of the noise, of the control and of the clustering (default: %(default)s)",
    )
    add(
        "--out",
        metavar="OUT",
        required=True,
        help="folder for report.html, suspects.csv and progress/, from which a stopped audit goes "
        "on",
    )
    add("--open", action="store_true", help="show the report in the browser")
    add(
        "--retrain-check",
        metavar="MODULE:FUNCTION",
        help="train anew without the suspects, and with their regions covered, against as many at "
        "random, and say whether it helped; see below",
    )
    add(
        "--retrain-seeds",
        metavar="N",
        type=whole(1),
        default=3,
        help="trainings of each kind for --retrain-check (default: %(default)s)",
    )
    add(
        "--retrain-top",
        metavar="N",
        type=whole(1),
        help="how many suspects, the first of suspects.csv (default: all of the regions that stand "
        "out, or else all labels, or else all opponents)",
    )


def _add_index(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "index",
        help="look at the training images once, so that explain answers in a moment",
        description="Keeps small projections of the gradients of all training images.",
        epilog=_INDEX_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="make an index, or go on where one stands")
    add = build.add_argument
    add("folder", metavar="DIR", help="where the index lies or shall lie")
    add("--data", metavar="DIR", required=True, help="the training images, as for explain")
    add("--model", metavar="NAME", required=True, help="as for explain")
    add("--weights", metavar="FILE", help="as for explain")
    several = build.add_mutually_exclusive_group()
    several.add_argument(
        "--checkpoints",
        metavar="FILE",
        nargs="+",
        help="an index at each of these state dicts, for explain --score tracin with the same",
    )
    several.add_argument(
        "--ensemble",
        metavar="FILE",
        nargs="+",
        help="an index of the model and one of each of these trainings, for explain --ensemble "
        "with the same",
    )
    build.set_defaults(learning_rates=None)  # they count when the index is asked
    add(
        "--loss",
        choices=("logit", "margin"),
        help="index the gradients of minus the label's logit, or of minus its margin, which TRAK "
        "takes (default: the loss, as explain wants it)",
    )
    add(
        "--dimension",
        metavar="D",
        type=whole(1),
        default=2048,
        help="numbers kept of each image's gradient, 3 bytes each (default: %(default)s)",
    )
    add(
        "--batch-size",
        metavar="N",
        type=whole(1),
        help="training images at once (default: chosen by their size)",
    )
    add(
        "--num-workers",
        metavar="N",
        type=whole(0),
        default=0,
        help="processes that load pictures, for each process that builds (default: %(default)s)",
    )
    add("--device", default="auto", help="as for explain (default: auto)")
    for name, what in (("info", "say what an index is"), ("verify", "read it all and check it")):
        actions.add_parser(name, help=what).add_argument("folder", metavar="DIR")


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="see it work, with nothing at hand or on your own images",
        description="Trains a small CNN and explains one of its mistakes.",
        epilog=_DEMO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data",
        metavar="DIR",
        help="images to train on, as for explain",
    )
    add(
        "--out",
        metavar="DIR",
        default="captum-tfa-demo",
        help="folder for the result (default: ./%(default)s)",
    )
