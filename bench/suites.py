"""What is measured: model files, threads, and plans (prompt tokens x output tokens x sequences together)."""
import dataclasses
import pathlib
import subprocess

DEFAULT_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclasses.dataclass(frozen=True)
class Suite:
    title: str
    threads: tuple
    plans: tuple
    reps: int  # within each run of each engine
    quant: str = ""  # of the 3B shape; empty = the default model

    def model(self, args):
        """The file, made if it is not there: random weights in the exact shape of Ministral 3 3B."""
        if not self.quant:
            return pathlib.Path(args.models) / DEFAULT_MODEL
        path = pathlib.Path(args.made_models) / f"ministral-3-3b-{self.quant}.gguf"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([args.make_model, "--preset", "ministral-3-3b", "--type", self.quant, "--out", str(path)],
                           check=True)
        return path


def _of_3b(quant):
    return Suite(f"Ministral 3 3B shape, {quant}", (2,), ("512x1x1", "1x64x1", "64x64x8"), 1, quant)


SUITES = {
    "default": Suite("Default model (SmolLM2-135M-Instruct, Q4_1)", (1, 2), ("512x1x1", "1x128x1", "64x64x8"), 3),
    "3b-q4_k_m": _of_3b("Q4_K_M"),
    "3b-q4_0": _of_3b("Q4_0"),
    "3b-q8_0": _of_3b("Q8_0"),
}


def figures(plan):
    """The figures that a plan gives: (name as the field writes it, key of the engines' JSON)."""
    prompt, output, sequences = (int(n) for n in plan.split("x"))
    out = []
    if sequences == 1 and prompt > 1:
        out.append((f"pp{prompt}", "prefill_tokens_per_s"))
    if output > 1:
        name = f"tg{output}" + (f" at {prompt}" if prompt > 1 else "") + (f" x {sequences}" if sequences > 1 else "")
        out.append((name, "decode_tokens_per_s"))
    return out
