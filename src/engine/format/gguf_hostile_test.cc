// Broken and malicious files: each is refused with a message that says where, and costs no memory.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "engine/format/gguf.h"
#include "testing/gguf_builder.h"

namespace {

// The largest single allocation since it was last set to 0.
std::atomic<size_t> largest_allocation = 0;

}  // namespace

// ThreadSanitizer brings its own and allows no other.
#if !__has_feature(thread_sanitizer)
void* operator new(size_t size) {
  size_t seen = largest_allocation.load();
  while (size > seen && !largest_allocation.compare_exchange_weak(seen, size)) {
  }
  if (void* p = std::malloc(size)) {
    return p;
  }
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace tradewind::engine {
namespace {

using testing::GgufBuilder;

// An exact heap copy, so that an address sanitizer sees reads past the end.
Result<GgufFile> Parse(const std::vector<char>& bytes) {
  return GgufFile::Parse(std::as_bytes(std::span(bytes)), "bad.gguf");
}
// Only for looking at the outcome: the views do not outlive the call.
Result<GgufFile> Parse(const std::string& bytes) {
  return Parse(std::vector<char>(bytes.begin(), bytes.end()));
}

// A small file that uses every part of the grammar. The last tensor ends with the file.
std::string SmallFile() {
  GgufBuilder builder;
  builder.Set("general.architecture", "llama")
      .Set("u8", uint8_t{1})
      .Set("f64", 1.0)
      .Set("flag", true);
  builder.Set("numbers", std::vector<int16_t>{1, 2, 3}).SetAlignment(8);
  builder.Set("tokens", std::vector<std::string>{"a", "", "bcd"});
  builder.TensorF32("first", {2, 1}, {1, 2});
  builder.Tensor("second", TensorType::kQ4_0, {32, 4}, std::string(72, 'q'));
  return builder.Build();
}

TEST(GgufHostileTest, AFileCutAnywhereIsRefused) {
  const std::string whole = SmallFile();
  ASSERT_TRUE(Parse(whole).has_value()) << Parse(whole).error().message;
  for (size_t n = 0; n < whole.size(); ++n) {
    const auto file = Parse(whole.substr(0, n));
    ASSERT_FALSE(file.has_value()) << "cut to " << n << " bytes";
    EXPECT_EQ(file.error().code, ErrorCode::kCorruptFile);
    EXPECT_TRUE(file.error().message.starts_with("bad.gguf: ")) << file.error().message;
  }
}

TEST(GgufHostileTest, AnyByteMayBeWrong) {
  const std::string whole = SmallFile();
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x7F, 0x80, 0xFF, whole[i] ^ 1, whole[i] ^ 0x10}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(value);
      const auto file = Parse(bytes);
      if (!file) {
        EXPECT_TRUE(file.error().message.starts_with("bad.gguf: ")) << file.error().message;
        EXPECT_TRUE(IsValidUtf8(file.error().message));
      }
    }
  }
}

TEST(GgufHostileTest, TruncatedTensorDataIsNamedWithItsBytes) {
  const std::string whole = SmallFile();
  const auto file = Parse(whole.substr(0, whole.size() - 1));
  ASSERT_FALSE(file.has_value());
  const std::string& message = file.error().message;
  EXPECT_NE(message.find("tensor 'second'"), std::string::npos) << message;
  EXPECT_NE(message.find("takes bytes " + std::to_string(whole.size() - 72) + " to " +
                         std::to_string(whole.size())),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("ends at byte " + std::to_string(whole.size() - 1)), std::string::npos)
      << message;
}

struct Refused {
  const char* what;
  std::string file;
  const char* says;
  ErrorCode code = ErrorCode::kCorruptFile;
};

std::string Header(uint32_t version, uint64_t tensors, uint64_t keys) {
  return "GGUF" + GgufBuilder::Bytes(version) + GgufBuilder::Bytes(tensors) +
         GgufBuilder::Bytes(keys);
}

std::string ArrayHead(uint32_t element_type, uint64_t count) {
  return GgufBuilder::Bytes(element_type) + GgufBuilder::Bytes(count);
}

// The entry and data of one F32 tensor with any offset.
std::string OneTensorAt(uint64_t offset) {
  const std::string head = Header(3, 1, 0) + GgufBuilder::String("t") +
                           GgufBuilder::Bytes(uint32_t{1}) + GgufBuilder::Bytes(uint64_t{4}) +
                           GgufBuilder::Bytes(uint32_t{0}) + GgufBuilder::Bytes(offset);
  return head + std::string(128, '\0');
}

std::string TwoTensorsAt(uint64_t first, uint64_t second) {
  std::string file = Header(3, 2, 0);
  for (const auto& [name, offset] : {std::pair("a", first), std::pair("b", second)}) {
    file += GgufBuilder::String(name) + GgufBuilder::Bytes(uint32_t{1}) +
            GgufBuilder::Bytes(uint64_t{16}) + GgufBuilder::Bytes(uint32_t{0}) +
            GgufBuilder::Bytes(offset);
  }
  return file + std::string(512, '\0');
}

std::string WithTensor(std::vector<uint64_t> dims, uint32_t type = 0, std::string_view name = "t") {
  return GgufBuilder().TensorRaw(name, type, std::move(dims), std::string(256, '\0')).Build();
}

std::vector<Refused> HeadersRefused() {
  constexpr uint64_t kHuge = UINT64_MAX;
  return {
      {"an empty file", "", "does not begin with the letters GGUF"},
      {"another format", "PK\3\4" + std::string(100, 'x'), "does not begin with the letters GGUF"},
      {"a Git LFS pointer",
       "version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"},
      {"version 0", Header(0, 0, 0), "version 0 is not supported", ErrorCode::kUnsupported},
      {"version 1", Header(1, 0, 0), "version 1 is not supported", ErrorCode::kUnsupported},
      {"version 4", Header(4, 0, 0), "version 4 is not supported", ErrorCode::kUnsupported},
      {"a big-endian file", Header(0x03000000, 0, 0), "big-endian", ErrorCode::kUnsupported},
      {"too many tensors", Header(3, kHuge, 0), "tensors; at most"},
      {"too many keys", Header(3, 0, kHuge), "keys; at most"},
      {"more tensors than bytes", Header(3, 1000, 0), "claims 1000 tensors, which do not fit"},
      {"more keys than bytes", Header(3, 0, 1000), "claims 1000 keys, which do not fit"},
  };
}

std::vector<Refused> KeysRefused() {
  const std::string one = GgufBuilder::Bytes(uint8_t{1});
  const auto raw = [](uint32_t type, const std::string& bytes) {
    return GgufBuilder().SetRaw("k", type, bytes + std::string(16, '\0')).Build();
  };
  return {
      {"an empty key", GgufBuilder().Set("", uint64_t{1}).Build(), "a key is empty"},
      {"a key that is not UTF-8", GgufBuilder().Set("k\xFF", true).Build(), "is not valid UTF-8"},
      {"a key beyond the limit", GgufBuilder().Set(std::string(65536, 'k'), true).Build(),
       "is 65536 bytes long"},
      {"a key longer than the file",
       Header(3, 0, 1) + GgufBuilder::Bytes(uint64_t{60000}) + "k" + std::string(40, 'x'),
       "a key takes 60000 bytes"},
      {"a key with a huge length",
       Header(3, 0, 1) + GgufBuilder::Bytes(UINT64_MAX) + std::string(40, 'x'),
       "bytes long; at most"},
      {"the same key twice", GgufBuilder().Set("k", true).Set("k", false).Build(),
       "key 'k' (byte 38): this key occurs twice"},
      {"an unknown type", raw(13, ""), "key 'k' (byte 24): has type 13"},
      {"a bool of 2", raw(7, "\2"), "byte 37 is 2, where a bool has 0 or 1"},
      {"a string longer than the file", raw(8, GgufBuilder::Bytes(uint64_t{1000})),
       "the value takes 1000 bytes"},
      {"a string with a huge length", raw(8, GgufBuilder::Bytes(UINT64_MAX)),
       "bytes long; at most"},
      {"an array of arrays", raw(9, ArrayHead(9, 1)), "an array of arrays",
       ErrorCode::kUnsupported},
      {"an array of an unknown type", raw(9, ArrayHead(77, 1)), "an array of type 77"},
      {"an array longer than the file", raw(9, ArrayHead(10, 3)),
       "claims 3 elements, which do not fit"},
      {"an array with a huge count", raw(9, ArrayHead(10, UINT64_MAX / 8 + 2)), "which do not fit"},
      {"strings with a huge count", raw(9, ArrayHead(8, UINT64_MAX)), "which do not fit"},
      {"a string of an array past the end",
       raw(9, ArrayHead(8, 1) + GgufBuilder::Bytes(uint64_t{17})), "an element takes 17 bytes"},
      {"a bool of an array of 3", raw(9, ArrayHead(7, 2) + "\1\3"), "where a bool has 0 or 1"},
  };
}

std::vector<Refused> AlignmentsRefused() {
  std::vector<Refused> refused = {
      {"an alignment as text", GgufBuilder().Set("general.alignment", "32").Build(),
       "must be a power of two"},
      {"a negative alignment", GgufBuilder().Set("general.alignment", int32_t{-32}).Build(),
       "must be a power of two"}};
  for (const uint64_t alignment :
       {uint64_t{0}, uint64_t{4}, uint64_t{33}, uint64_t{1} << 21, uint64_t{1} << 63}) {
    refused.push_back({"an alignment", GgufBuilder().Set("general.alignment", alignment).Build(),
                       "key 'general.alignment' (byte 24): must be a power of two"});
  }
  return refused;
}

std::vector<Refused> TensorsRefused() {
  constexpr uint64_t kBig = uint64_t{1} << 32;
  return {
      {"an empty name", WithTensor({4}, 0, ""), "a tensor's name is empty"},
      {"a name that is not UTF-8", WithTensor({4}, 0, "t\xC0"), "is not valid UTF-8"},
      {"a name beyond the limit", WithTensor({4}, 0, std::string(65, 't')),
       "is 65 bytes long; at most 64"},
      {"the same name twice",
       GgufBuilder().TensorF32("t", {1}, {1}).TensorF32("t", {1}, {1}).Build(),
       "tensor 't': this name occurs twice"},
      {"five dimensions", WithTensor({1, 1, 1, 1, 1}), "tensor 't' (byte 24): has 5 dimensions"},
      {"a dimension of zero", WithTensor({4, 0}), "has a dimension of size 0"},
      {"dimensions whose product overflows", WithTensor({kBig, kBig, 2}),
       "more elements than 63 bits"},
      {"elements beyond 63 bits", WithTensor({uint64_t{1} << 63}), "more elements than 63 bits"},
      {"bytes beyond 64 bits", WithTensor({uint64_t{1} << 62}), "more bytes than 64 bits"},
      {"a row that is not whole blocks", WithTensor({48}, 2),
       "rows of 48 elements are not whole Q4_0 blocks of 32"},
      {"a removed type", WithTensor({32}, 4), "tensor type 4", ErrorCode::kUnsupported},
      {"an unknown type", WithTensor({32}, 12345), "tensor type 12345", ErrorCode::kUnsupported},
      {"a tensor larger than the file", WithTensor({1 << 20}), "is the download complete?"},
      {"an offset past the end", OneTensorAt(1024), "tensor 't' (byte 24): its data takes bytes"},
      {"an offset that is not aligned", OneTensorAt(4),
       "offset 4 is not a multiple of the alignment, 32"},
      {"an offset that overflows", OneTensorAt(UINT64_MAX - 31), "do not fit into 64 bits"},
      {"two tensors at one place", TwoTensorsAt(0, 0), "overlaps"},
      {"tensors that overlap", TwoTensorsAt(32, 0),
       "tensor 'a' (byte 24): its data, at offset 32, overlaps that of 'b'"},
  };
}

TEST(GgufHostileTest, EveryFaultIsRefusedWithAMessageThatSaysWhere) {
  std::vector<Refused> all;
  for (auto& table : {HeadersRefused(), KeysRefused(), AlignmentsRefused(), TensorsRefused()}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  for (const Refused& row : all) {
    SCOPED_TRACE(row.what);
    const auto file = Parse(row.file);
    ASSERT_FALSE(file.has_value());
    EXPECT_EQ(file.error().code, row.code);
    EXPECT_TRUE(file.error().message.starts_with("bad.gguf: ")) << file.error().message;
    EXPECT_NE(file.error().message.find(row.says), std::string::npos) << file.error().message;
    EXPECT_TRUE(IsValidUtf8(file.error().message));
  }
}

TEST(GgufHostileTest, ASmallFileCannotMakeUsAllocateMuch) {
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "allocations are not counted under ThreadSanitizer";
#endif
  std::vector<std::string> files;
  for (const uint64_t count :
       {uint64_t{1} << 16, limits::kGgufTensorsMax, uint64_t{1} << 40, UINT64_MAX}) {
    files.push_back(Header(3, count, 0) + std::string(64, '\0'));
    files.push_back(Header(3, 0, count) + std::string(64, '\0'));
    files.push_back(Header(3, 0, 1) + GgufBuilder::Bytes(count) + std::string(64, '\0'));
    for (const uint32_t element : {0u, 7u, 8u, 10u}) {
      files.push_back(GgufBuilder().SetRaw("k", 9, ArrayHead(element, count)).Build());
    }
    files.push_back(WithTensor({count}));
  }
  for (const std::string& bytes : files) {
    const std::vector<char> copy(bytes.begin(), bytes.end());
    largest_allocation = 0;
    EXPECT_FALSE(Parse(copy).has_value());
    EXPECT_LT(largest_allocation.load(), 4096u);
  }
}

TEST(GgufHostileTest, MessagesQuoteHostileNamesSafely) {
  const std::string name = "evil\n\x1B[31m" + std::string(300, 'x');
  const auto file = Parse(GgufBuilder().Set(name, true).Set(name, true).Build());
  ASSERT_FALSE(file.has_value());
  const std::string& message = file.error().message;
  EXPECT_NE(message.find("'evil??[31mxxx"), std::string::npos) << message;
  EXPECT_LT(message.size(), 200u);
  EXPECT_TRUE(std::ranges::none_of(message, [](char c) { return c >= 0 && c < 0x20; }));
}

}  // namespace
}  // namespace tradewind::engine
