// Any bytes either fail with a message that names the file, or give views that can all be read.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/format/gguf.h"
#include "engine/quant/dequantize.h"

namespace tradewind::engine {
namespace {

volatile uint64_t sink;

void Touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) {
    sum += std::to_integer<uint64_t>(b);
  }
  sink = sum;
}

void TouchArray(const GgufArray& array) {
  if (!array.is_number()) {
    const auto strings = array.Strings();
    TW_CHECK(strings.size() == array.count);
    for (const std::string_view text : strings) {
      Touch(AsBytes(text));
    }
    return;
  }
  for (uint64_t i = 0; i < array.count; ++i) {
    sink = static_cast<uint64_t>(array.IntegerAt(i)) + (array.NumberAt(i) > 0.5 ? 1 : 0);
  }
}

void TouchTensor(const GgufFile& file, const GgufTensor& tensor) {
  TW_CHECK(file.FindTensor(tensor.name) == &tensor);
  TW_CHECK(RowBytes(tensor.type, tensor.row_elements()).value() * tensor.rows() ==
           tensor.data.size());
  Touch(tensor.data);
  if (const DequantizeFn dequantize = ScalarDequantizer(tensor.type)) {
    std::vector<float> block(TraitsOf(tensor.type).block_elements);
    dequantize(tensor.data.data(), block);
  }
}

void ReadAll(const GgufFile& file) {
  for (const auto& [key, value] : file.keys()) {
    Touch(AsBytes(key));
    (void)file.Integer(key);
    (void)file.Float(key);
    (void)file.Bool(key);
    if (const auto text = file.String(key)) {
      Touch(AsBytes(*text));
    }
    if (const GgufArray* array = file.Array(key)) {
      TouchArray(*array);
    }
  }
  for (const GgufTensor& tensor : file.tensors()) {
    TouchTensor(file, tensor);
  }
}

}  // namespace
}  // namespace tradewind::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tradewind::engine::GgufFile;
  const auto file = GgufFile::Parse(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (file) {
    tradewind::engine::ReadAll(*file);
  } else {
    TW_CHECK(file.error().message.starts_with("fuzz.gguf: "));
  }
  return 0;
}
