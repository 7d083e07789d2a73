// provider_sim --port 0 --providers fireworks-ai,together --key together=tg-key
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <sys/resource.h>

#include "provider_sim/server.h"
#include "provider_sim/sim.h"

namespace {

using provider_sim::Provider;

struct Arguments {
  std::vector<std::string> providers = {"fireworks-ai", "together", "cerebras", "groq",
                                        "openai",       "novita",   "hf-router"};
  std::vector<std::string> keys, admin_keys, faults, models, prices;
  std::string data = PROVIDER_SIM_DATA, root;
  bool no_log = false;
  int64_t created_s = 0;
  provider_sim::ServerOptions server;
};

void AddFlags(CLI::App& app, Arguments& a) {
  app.add_option("--host", a.server.host, "address to listen on");
  app.add_option("--port", a.server.port, "0: any free one");
  app.add_option("--threads", a.server.threads, "event loops")->check(CLI::Range(1, 64));
  app.add_option("--providers", a.providers, "slugs, served under /SLUG; NAME:SLUG under /NAME")
      ->delimiter(',');
  app.add_option("--root", a.root, "this provider is served at / too");
  app.add_option("--data", a.data, "folder of data files");
  app.add_option("--key", a.keys, "a key that is accepted, or PROVIDER=KEY; none: any key is");
  app.add_option("--admin-key", a.admin_keys, "a key that may ask for usage and costs; none: any");
  app.add_option("--model", a.models, "PROVIDER=ID: one more model, at its first model's price");
  app.add_option("--price", a.prices, "PROVIDER=JSON: what its models cost, as data says it");
  app.add_option("--fault", a.faults, "a rule as for /_sim/faults: JSON, or name=value,...");
  app.add_flag("--no-log", a.no_log, "keep no log of requests");
  app.add_option("--created", a.created_s, "Unix time that replies name instead of now");
  CLI::Option* const cert = app.add_option("--tls-cert", a.server.tls_cert, "PEM file");
  CLI::Option* const key = app.add_option("--tls-key", a.server.tls_key, "PEM file");
  cert->needs(key);
  key->needs(cert);
}

std::pair<std::string, std::string> SplitAt(const std::string& text, char mark) {
  const size_t at = text.find(mark);
  return at == text.npos ? std::pair<std::string, std::string>{"", text}
                         : std::pair{text.substr(0, at), text.substr(at + 1)};
}

std::vector<std::unique_ptr<Provider>> Load(const Arguments& arguments) {
  std::vector<std::unique_ptr<Provider>> providers;
  for (const std::string& word : arguments.providers) {
    const auto [name, slug] = SplitAt(word, ':');
    providers.push_back(
        provider_sim::LoadProvider(arguments.data, slug, name.empty() ? slug : name));
  }
  for (const std::string& word : arguments.models) {
    const auto [name, id] = SplitAt(word, '=');
    for (const auto& provider : providers) {
      if (provider->name == name || name.empty()) {
        auto model = std::make_unique<provider_sim::Model>(*provider->model_list.front());
        model->id = id;
        model->reply_model = provider_sim::JsonString(id);
        model->pool.clear();
        provider->model_list.push_back(std::move(model));
      }
    }
  }
  for (const std::string& word : arguments.prices) {
    const auto [name, text] = SplitAt(word, '=');
    const boost::json::value prices = boost::json::parse(text);
    for (const auto& provider : providers) {
      for (const auto& model : provider->model_list) {
        if (provider->name == name) {
          provider_sim::SetPrices(prices.as_object(), *model);
        }
      }
    }
  }
  return providers;
}

// {"status":429} or status=429,count=3
boost::json::value RuleOf(const std::string& text) {
  if (text.starts_with("{") || text.starts_with("[")) {
    return boost::json::parse(text);
  }
  boost::json::object rule;
  std::string rest = text;
  while (!rest.empty()) {
    const std::string pair = rest.substr(0, rest.find(','));
    rest.erase(0, pair.size() + 1);
    const auto [name, value] = SplitAt(pair, '=');
    boost::system::error_code error;
    const boost::json::value parsed = boost::json::parse(value, error);
    rule[name] = error ? boost::json::value(boost::json::string_view(value)) : parsed;
  }
  return rule;
}

void Run(const Arguments& arguments) {
  provider_sim::SimOptions options;
  for (const std::string& key : arguments.keys) {
    options.keys.push_back(SplitAt(key, '='));
  }
  options.admin_keys = arguments.admin_keys;
  options.keep_log = !arguments.no_log;
  options.created_s = arguments.created_s;
  provider_sim::Sim sim(Load(arguments), arguments.root, options);
  for (const std::string& fault : arguments.faults) {
    if (const std::string wrong = sim.rules().Add(RuleOf(fault)); !wrong.empty()) {
      throw std::runtime_error("--fault " + fault + ": " + wrong);
    }
  }
  provider_sim::Serve(sim, arguments.server);
}

// Thousands of streams want as many descriptors as the system gives.
void RaiseDescriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kUsage = 2, kFailed = 1;
  Arguments arguments;
  CLI::App app("Plays inference providers from data files; tools/provider_sim/README.md.");
  AddFlags(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  std::signal(SIGPIPE, SIG_IGN);
  RaiseDescriptors();
  try {
    Run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "provider_sim: %s\n", error.what());
    return kFailed;
  }
  return 0;
}
