"""A server in front of simulated providers: the config that an operator writes, and what it leads to."""

import contextlib
import pathlib

import harness
import simulator

# Slug in model strings -> (kind in the config, the simulator's provider).
SITES = {
    "fireworks-ai": ("fireworks-ai", "fireworks-ai"),
    "together": ("together", "together"),
    "cerebras": ("cerebras", "cerebras"),
    "groq": ("groq", "groq"),
    "site-a": ("openai", "site-a:openai"),
    "huggingface": ("huggingface", "huggingface:hf-router"),
    "site-l": ("openai", "site-l:llama-server"),
    "site-o": ("openai", "site-o:ollama"),
    # Usage in a last chunk of its own, unasked; and in every chunk.
    "site-n": ("openai", "site-n:novita"),
    "site-m": ("openai", "site-m:novita-2025"),
}
# Pools: each request has a price of its own, which OpenRouter tells with its usage, and Hugging Face's router when it is asked.
POOLS = {"pool": ("openai", "pool:openrouter"), "hub": ("huggingface", "hub:hf-router")}
MODEL = "acme/model"
KEY = "provider-key-that-must-not-leak"


def config(sim, sites=SITES, model=MODEL, prices=("0.10", "0.30"), extra="", more={}, billing=False, also="", context=8192, **fields):
    """A config file with `model` at each of the sites, and at some of them `more`: site -> (model, provider's id, task)s.
    `prices`: of all, or by site. `also`: what the models' tables say besides. `billing`: each can be asked what requests cost, and keeps our ids."""
    parts = [extra]
    for slug in sites:
        kind, played = (SITES | POOLS).get(slug, ("openai", f"{slug}:openai"))
        provider_id = simulator.MODELS.get(played.split(":")[-1])
        base_url = sim.base_url(slug)
        lines = ["[[providers]]", f'name = "{slug}"', f'kind = "{kind}"', f'base_url = "{base_url}"', "allow_private = true"]
        lines.append(f'api_key_env = "{slug.upper().replace("-", "_")}_KEY"')
        if billing:
            lines += [f'billing_url = "{sim.url}/{slug}/billing"', "billing_own_ids = true"]
        lines += [f"{name} = {value}" for name, value in fields.items()]
        usd = prices[slug] if isinstance(prices, dict) else prices
        models = [
            f'{{ id = "{hf_model}", provider_id = "{own_id}", task = "{task}", input_usd_per_mtok = "{usd[0]}", '
            f'output_usd_per_mtok = "{usd[1]}", context = {context}{", " if also else ""}{also} }}'
            for hf_model, own_id, task in [(model, provider_id, "conversational"), *more.get(slug, ())]
        ]
        lines.append(f"models = [{', '.join(models)}]")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def keys(sites=SITES):
    return {f"{slug.upper().replace('-', '_')}_KEY": KEY for slug in sites}


class Market:
    """`with Market(tmp_path, "together", "site-a") as market:` has `.sim` and `.server`."""

    def __init__(self, folder, *sites, flags=(), sim_flags=(), extra="", models=None, server=harness.Server, **fields):
        self.folder = pathlib.Path(folder)
        self.sites = sites or tuple(SITES)
        self.flags, self.sim_flags, self.extra, self.fields = flags, sim_flags, extra, fields
        self.models = models or self.folder / "no-models"
        self.start = server

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            played = [(SITES | POOLS).get(slug, ("openai", f"{slug}:openai"))[1] for slug in self.sites]
            self.sim = stack.enter_context(simulator.Simulator(*played, flags=["--key", KEY, *self.sim_flags]))
            self.config = self.folder / "config.toml"
            self.config.write_text(config(self.sim, self.sites, extra=self.extra, **self.fields))
            self.models.mkdir(exist_ok=True)
            self.server = stack.enter_context(
                self.start(
                    self.folder / "home",
                    "--config",
                    self.config,
                    *self.flags,
                    models=self.models,
                    env=keys(self.sites),
                )
            )
            # Providers are for callers with a token.
            made = harness.run_cli("keys", "create", "--name", "market", home=self.folder / "home")
            assert made.returncode == 0, made
            self.server.token = made.stdout.strip()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure):
        return self._stack.__exit__(*failure)

    def chat(self, text="one two three", model=MODEL, headers=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}]} | fields
        return self.server.post("/v1/chat/completions", body, headers)
