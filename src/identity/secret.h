// Text that is never printed: keys and tokens.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>

namespace tradewind::identity {

// Owns its bytes, overwrites them when destroyed, and has no way into a stream, a format string or
// a JSON text but Reveal(), so that every place that shows one can be found by that word.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string_view text);
  static Secret TakeFrom(std::string& text);  // overwrites and empties `text`
  static Secret OfSize(size_t size);          // zeros, to be filled through data()
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  Secret Clone() const { return Secret(Reveal()); }
  std::string_view Reveal() const { return {bytes_.get(), size_}; }
  unsigned char* data() { return reinterpret_cast<unsigned char*>(bytes_.get()); }
  const unsigned char* data() const { return reinterpret_cast<const unsigned char*>(bytes_.get()); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  void Wipe();
  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
};

// The same time whatever differs, but for the sizes.
bool SecretsEqual(std::string_view a, std::string_view b);
void WipeText(std::string& text);  // overwrites and empties

std::ostream& operator<<(std::ostream&, const Secret&) = delete;

}  // namespace tradewind::identity
