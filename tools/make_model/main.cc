// make_model --preset ministral-3-3b --type Q4_K_M --out build/models-3b/q4_k_m.gguf
#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "make_model/make_model.h"

namespace {

using tradewind::make_model::FindPreset;
using tradewind::make_model::ModelShape;

struct Arguments {
  std::string preset = "tiny", type = "Q8_0", head_type, out;
  uint64_t seed = 1;
};

// Flags of the shape change what the preset says, so they are bound to it and parsed again.
void AddFlags(CLI::App& app, Arguments& arguments, ModelShape& shape) {
  app.add_option("--preset", arguments.preset,
                 "the shape to start from: " + tradewind::make_model::PresetNames());
  app.add_option("--type", arguments.type,
                 "any type of weights: F32, F16, ..., Q8_0; or a mix: Q4_K_M, Q5_K_M");
  app.add_option("--head-type", arguments.head_type, "of the output matrix; default as usual");
  app.add_option("--out", arguments.out, "the file to write")->required();
  app.add_option("--seed", arguments.seed, "of the random weights");
  app.add_option("--arch", shape.architecture, "general.architecture");
  app.add_option("--layers", shape.layers, "");
  app.add_option("--dim", shape.model_dim, "values per token between layers");
  app.add_option("--heads", shape.heads, "");
  app.add_option("--kv-heads", shape.kv_heads, "");
  app.add_option("--head-dim", shape.head_dim, "");
  app.add_option("--ffn", shape.ffn_dim, "inner values of the feed-forward part");
  app.add_option("--vocab", shape.vocab, "tokens");
  app.add_option("--context", shape.context, "positions the file says it was trained for");
  app.add_option("--rope-base", shape.rope_base, "");
  app.add_flag("!--untied", shape.tied, "an output matrix of its own");
}

tradewind::Status Run(const Arguments& arguments, const ModelShape& shape) {
  TW_ASSIGN_OR_RETURN(const auto types,
                      tradewind::make_model::FindTypePlan(arguments.type, arguments.head_type));
  TW_ASSIGN_OR_RETURN(const uint64_t bytes, tradewind::make_model::MakeModel(
                                                shape, types, arguments.seed, arguments.out));
  fmt::print("{}: {} {}, {} bytes\n", arguments.out, shape.name, types.name, bytes);
  return {};
}

int Refuse(const std::string& message, int code) {
  fmt::print(stderr, "make_model: {}\n", message);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kUsage = 2, kFailed = 1;
  Arguments arguments;
  ModelShape shape;
  for (int pass = 0; pass < 2; ++pass) {
    CLI::App app("Writes a GGUF file of any shape with random weights.");
    AddFlags(app, arguments, shape);
    CLI11_PARSE(app, argc, argv);
    if (pass == 0) {
      const auto preset = FindPreset(arguments.preset);
      if (!preset) {
        return Refuse("there is no preset '" + arguments.preset + "'; known are " +
                          tradewind::make_model::PresetNames(),
                      kUsage);
      }
      shape = *preset;
    }
  }
  const tradewind::Status status = Run(arguments, shape);
  if (!status) {
    const bool usage = status.error().code == tradewind::ErrorCode::kInvalidArgument;
    return Refuse(status.error().message, usage ? kUsage : kFailed);
  }
  return 0;
}
