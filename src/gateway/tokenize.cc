// POST /tokenize and /detokenize, GET /tokenizer_info.
#include "dialects/tokenize.h"

#include <fmt/format.h>

#include "gateway/gateway.h"

namespace tradewind::gateway {

Result<std::string> Gateway::ResolveOrDefault(const std::string& model) const {
  const std::string& name = model.empty() ? options_.default_model : model;
  if (name.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "`model` is required: this server has no default model.", "model");
  }
  TW_ASSIGN_OR_RETURN(const catalog::LocalModel* found,
                      local_.pool().models().Resolve(name, catalog::RefSource::kWire));
  return found->id;
}

Task<void> Gateway::Tokenize(Call& call) {
  auto parsed = dialects::ParseTokenize(call.request().body);
  if (!parsed.has_value()) {
    co_return co_await Refuse(call, std::move(parsed).error());
  }
  auto model = ResolveOrDefault(parsed->model);
  if (!model.has_value()) {
    co_return co_await Refuse(call, std::move(model).error());
  }
  call.record.model = *model;
  if (Status allowed = CheckAllowed(call.caller.get(), *model, "local"); !allowed) {
    co_return co_await Refuse(call, std::move(allowed).error());
  }
  Result<providers::LocalProvider::Tokens> tokens =
      parsed->is_chat ? co_await local_.TokenizeChat(*model, parsed->chat)
                      : co_await local_.TokenizeText(*model, std::move(parsed->prompt),
                                                     parsed->add_special_tokens);
  if (!tokens.has_value()) {
    co_return co_await Refuse(call, std::move(tokens).error());
  }
  co_await RespondJson(call, dialects::FormatTokenize(
                                 tokens->ids, parsed->return_token_strs ? &tokens->texts : nullptr,
                                 tokens->context));
}

Task<void> Gateway::Detokenize(Call& call) {
  auto parsed = dialects::ParseDetokenize(call.request().body);
  if (!parsed.has_value()) {
    co_return co_await Refuse(call, std::move(parsed).error());
  }
  auto model = ResolveOrDefault(parsed->model);
  if (!model.has_value()) {
    co_return co_await Refuse(call, std::move(model).error());
  }
  call.record.model = *model;
  if (Status allowed = CheckAllowed(call.caller.get(), *model, "local"); !allowed) {
    co_return co_await Refuse(call, std::move(allowed).error());
  }
  auto text = co_await local_.Detokenize(*model, std::move(parsed->tokens));
  if (!text.has_value()) {
    co_return co_await Refuse(call, std::move(text).error());
  }
  co_await RespondJson(call, dialects::FormatDetokenize(*text));
}

Task<void> Gateway::TokenizerInfo(Call& call) {
  auto model = ResolveOrDefault("");
  if (!model.has_value()) {
    co_return co_await Refuse(call, std::move(model).error());
  }
  auto lease = co_await local_.pool().Acquire(*model);
  if (!lease.has_value()) {
    co_return co_await Refuse(call, std::move(lease).error());
  }
  const engine::Tokenizer& tokenizer = lease->engine().tokenizer();
  dialects::TokenizerInfo info;
  info.model = tokenizer.model_name();
  info.pre_tokenizer = tokenizer.pre_name();
  info.vocab_size = tokenizer.vocab_size();
  info.context = lease->engine().info().context;
  info.bos = tokenizer.bos().value_or(-1);
  info.eos = tokenizer.eos().value_or(-1);
  info.bos_token = tokenizer.TokenBytes(tokenizer.bos().value_or(-1));
  info.eos_token = tokenizer.TokenBytes(tokenizer.eos().value_or(-1));
  info.add_bos = tokenizer.add_bos();
  co_await RespondJson(call, dialects::FormatTokenizerInfo(info));
}

}  // namespace tradewind::gateway
