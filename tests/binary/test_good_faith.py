"""What an operator does in good faith: commands as the documents show them, and slips of the hand."""

import json
import signal
import time

import harness
import market
from market import MODEL
from test_bill import move_earlier

BILLING = '[billing]\nissuer = "Wind Ltd"\nissuer_address = "1 Harbour Road"\nissuer_tax_id = "GB 123"\ntax_percent = "20"\n'


def cli(home, *words):
    done = harness.run_cli(*words, home=home)
    assert done.returncode == 0, done
    return done.stdout


def read_again(site, before, after):
    """The config with other words in it; what the log says of it."""
    seen = len(site.server.log())
    text = site.config.read_text()
    assert before in text
    site.config.write_text(text.replace(before, after))
    site.server.process.send_signal(signal.SIGHUP)
    harness.wait_for(lambda: "the config was read again" in site.server.log()[seen:], "the config is read again")
    return site.server.log()[seen:]


def test_an_invoice_is_of_the_issuer_that_the_server_was_started_with(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1000", "3000"), extra=BILLING) as site:
        home = site.server.home
        assert site.chat(max_tokens=50).status == 200
        words = ["bill", "invoice", "--org", "default", "--period", json.loads(cli(home, "bill", "--json"))["statement"]["period"], "--draft"]

        def who(*more):
            draft = json.loads(cli(home, *words, *more))
            return tuple(draft["issuer"].values()), draft["tax_percent"], draft["tax_cents"] > 0

        wind = (("Wind Ltd", "1 Harbour Road", "GB 123"), "20", True)
        assert who() == wind
        assert who("--tax-percent", "0") == (wind[0], "0", False)
        site.server.kill()
        assert who("--config", site.config) == wind, "and where no server runs, as the command's config says"
        assert who()[0] == ("", "", ""), "nobody says it"


def test_a_span_counts_back_from_now(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1000", "3000")) as site:
        home = site.server.home
        assert site.chat(max_tokens=50).status == 200
        time.sleep(1.1)  # it is of another second than now
        rerate = ["prices", "rerate", MODEL, "--provider", "site-a", "--input-usd-per-mtok", "2000", "--output-usd-per-mtok", "3000", "--json"]
        for since, count in (("7d", 1), ("0m", 0)):
            assert len(json.loads(cli(home, "requests", "--by", "admission", "--from", since, "--json"))["requests"]) == count
            assert sum(org["attempts"] for org in json.loads(cli(home, *rerate, "--from", since))["organisations"]) == count
        assert json.loads(cli(home, "usage", "--to", "1d", "--json"))["requests"]["settled"] == 0
        assert json.loads(cli(home, "usage", "--from", "1d", "--json"))["requests"]["settled"] == 1
        refused = harness.run_cli("usage", "--from", "7 days", home=home)
        assert refused.returncode == 2 and "like 7d" in refused.stderr, refused


def test_a_price_that_was_put_right_is_the_one_that_requests_are_rated_by(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1000", "3000")) as site:
        home = site.server.home
        for _ in range(3):
            assert site.chat(max_tokens=50).status == 200
        before = int(json.loads(cli(home, "usage", "--json"))["cost_nanousd"])
        read_again(site, 'input_usd_per_mtok = "1000", output_usd_per_mtok = "3000"', 'input_usd_per_mtok = "500", output_usd_per_mtok = "1500"')
        rerate = ["prices", "rerate", MODEL, "--provider", "site-a", "--json"]
        (told,) = json.loads(cli(home, *rerate))["organisations"]
        assert told["attempts"] == 3 and int(told["cost_nanousd"]) == before // 2
        assert len(json.loads(cli(home, "prices", "history", MODEL, "--json"))["versions"]) == 1, "only told"
        assert "config.toml line" in cli(home, *rerate[:-1])
        done = json.loads(cli(home, *rerate, "--apply", "--reason", "mistyped"))
        assert done["price_version"] == 2 and "config.toml line" in done["price_source"]
        assert int(json.loads(cli(home, "usage", "--json"))["cost_nanousd"]) == before // 2
        assert site.chat(max_tokens=50).headers["x-tradewind-price-version"] == "2"
        site.server.kill()
        again = json.loads(cli(home, *rerate, "--config", site.config))
        assert again["organisations"] == [] and again["price_version"] == 2, "where no server runs, by the command's own config"
        assert json.loads(cli(home, "bill", "verify", "--json"))["good"]


def test_a_slip_in_a_price_is_told_when_the_config_is_read_again(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("100", "300")) as site:
        said = read_again(site, "input_usd_per_mtok =", "input_usd_per_mtoks =")
        assert "input_usd_per_mtoks is not known to this version" in said, said
        assert f"{MODEL} at site-a had a price" in said, said
        said = read_again(site, "input_usd_per_mtoks =", "input_usd_per_mtok =")
        assert "not known" not in said and "had a price" not in said, said


def test_a_bill_of_a_provider_that_there_is_not_is_refused(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("100", "300")) as site:
        home = site.server.home
        assert site.chat(max_tokens=50).status == 200
        day = json.loads(cli(home, "requests", "--json"))["requests"][0]["ended"][:10]
        bill = tmp_path / "bill.csv"
        bill.write_text(f"date,model,cost_usd\n{day},{MODEL},9.99\n")
        refused = harness.run_cli("reconcile", "import", bill, "--provider", "site-aa", home=home)
        assert refused.returncode == 3 and "The nearest: site-a." in refused.stderr, refused
        assert "no bill of" in cli(home, "reconcile", "status", day[:7])
        cli(home, "reconcile", "import", bill, "--provider", "site-a")
        site.server.kill()
        cli(home, "reconcile", "import", bill, "--provider", "site-a", "--replace")
        assert harness.run_cli("reconcile", "import", bill, "--provider", "site-aa", home=home).returncode == 3


def test_a_note_settles_a_month_that_is_over_alone(tmp_path):
    with market.Market(tmp_path, "site-a", prices=("1000", "3000")) as site:
        home = site.server.home
        assert site.chat(max_tokens=50).status == 200
        site.server.kill()
        move_earlier(home, 400)
        (used,) = json.loads(cli(home, "requests", "--json"))["requests"]
        month = ["--org", "default", "--period", used["ended"][:7]]
        refused = harness.run_cli("bill", "invoice", *month, home=home)
        assert refused.returncode == 2 and "[billing]" in refused.stderr and "--issuer" in refused.stderr, refused
        cli(home, "bill", "invoice", *month, "--issuer", "Wind Ltd")
        cli(home, "receipt", "adjust", used["receipt"], "--charge", "0", "--reason", "an outage")
        made = json.loads(cli(home, "requests", "--json"))["requests"][-1]["ended"][:7]
        note = ["bill", "credit", "TW-000001", "--usd", "0.01", "--reason", "an outage", "--reference", "1", "--json"]
        for settles, why in ((made, "can be invoiced from"), (used["ended"][:7], "was invoiced by TW-000001"), ("2026-11-01", "is a month")):
            refused = harness.run_cli(*note, "--settles", settles, home=home)
            assert refused.returncode == 2 and why in refused.stderr, refused
        (issued,) = json.loads(cli(home, *note))["invoices"]
        assert issued["number"] == "TW-000002" and "settles" not in issued
