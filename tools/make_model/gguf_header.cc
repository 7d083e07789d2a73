#include "make_model/gguf_header.h"

namespace tradewind::make_model {
namespace {

template <class T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace

std::string GgufHeader::Build(std::span<const TensorSpec> tensors) const {
  constexpr uint32_t kVersion = 3;
  std::string out = "GGUF";
  Append(out, kVersion);
  Append(out, uint64_t{tensors.size()});
  Append(out, count_);
  out += keys_;
  uint64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    Append(out, uint64_t{tensor.name.size()});
    out += tensor.name;
    Append(out, uint32_t{tensor.rows == 0 ? 1u : 2u});
    Append(out, static_cast<uint64_t>(tensor.cols));  // the fastest dimension comes first
    if (tensor.rows != 0) {
      Append(out, static_cast<uint64_t>(tensor.rows));
    }
    Append(out, static_cast<uint32_t>(tensor.type));
    Append(out, offset);
    offset += Align(tensor.bytes());
  }
  out.resize(Align(out.size()), '\0');
  return out;
}

}  // namespace tradewind::make_model
