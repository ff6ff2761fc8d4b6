"""One table of all methods: J, F, seconds a frame, seconds before the first frame.

    python benchmarks/methods.py DATA --out OUT [--variants ...] [--sequences ...] [--device cpu]

DATA is a DAVIS-layout folder. Every video is segmented from its first mask, see `napari_pml.evaluation`; what is in OUT
from an earlier call with the same settings is taken from there, so stop it at any time and call it again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from napari_pml import METHODS
from napari_pml.evaluation.davis import find_sequences, select_sequences
from napari_pml.evaluation.results import DatasetResult
from napari_pml.evaluation.semi_supervised import make_setup, run_dataset

VARIANTS = {
    **METHODS,
    "pml, no refinement": replace(METHODS["pml"], refine="none"),
    "feelvos, no refinement": replace(METHODS["feelvos"], refine="none"),
    "osvos, contour snapping": replace(METHODS["osvos"], refine="contours"),
    "osvos, no refinement": replace(METHODS["osvos"], refine="none"),
    "osvos, no one-shot": replace(METHODS["osvos"], steps=0),
    "osvos, no one-shot, contour snapping": replace(METHODS["osvos"], steps=0, refine="contours"),
    "pml, contour snapping": replace(METHODS["pml"], refine="contours"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--sequences", nargs="*", default=[])
    parser.add_argument("--device")
    args = parser.parse_args()

    sequences = select_sequences(find_sequences(args.data), args.sequences)
    rows = []
    for name in args.variants:
        setup = make_setup(args.data, sequences, VARIANTS[name], "compact", args.device)
        outcomes = list(run_dataset(sequences, args.out / name.replace(", ", "-").replace(" ", "-"), setup))
        found = DatasetResult.gather(setup, outcomes)
        for unscored in found.unscored:
            print(f"{name}: {unscored.sequence} is left out: {unscored.reason}")
        rows.append(
            f"| {name} | {100 * found.mean.j.mean:.1f} | {100 * found.mean.f.mean:.1f} "
            f"| {found.seconds_per_frame:.2f} | {found.seconds_before_first_frame:.1f} |"
        )
        print(rows[-1], flush=True)
    print("\n| method | J | F | seconds a frame | seconds before the first frame |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
