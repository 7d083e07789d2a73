#include "engine/threads/cgroup.h"

#include <string_view>

#include <gtest/gtest.h>

#include "base/file.h"
#include "testing/temp_dir.h"

namespace tradewind::engine {
namespace {

class Cgroup : public ::testing::Test {
 protected:
  void Put(const std::filesystem::path& path, std::string_view text) {
    std::filesystem::create_directories((dir_.path() / path).parent_path());
    ASSERT_TRUE(WriteFileAtomic(dir_.path() / path, text));
  }
  CgroupLimits Read() const { return ReadCgroupLimits(dir_.path() / "fs", dir_.path() / "self"); }

  testing::TempDir dir_;
};

TEST_F(Cgroup, WithoutFilesSetsNoLimit) {
  EXPECT_FALSE(Read().cpus || Read().memory_bytes);
  Put("self", "0::/a\n4:memory:/b\nnonsense\n:::\n");
  EXPECT_FALSE(Read().cpus || Read().memory_bytes);
}

TEST_F(Cgroup, OfVersion2IsTheNarrowestUpToTheRoot) {
  Put("self", "0::/outer/inner\n");
  Put("fs/outer/inner/cpu.max", "max 100000\n");
  Put("fs/outer/cpu.max", "150000 100000\n");
  Put("fs/cpu.max", "400000 100000\n");
  Put("fs/outer/inner/memory.max", "3000000\n");
  Put("fs/outer/memory.max", "max\n");
  Put("fs/other/memory.max", "1\n");
  EXPECT_EQ(Read().cpus, 1.5);
  EXPECT_EQ(Read().memory_bytes, 3000000);
}

TEST_F(Cgroup, OfVersion1IsReadForEachController) {
  Put("self", "5:cpuset:/\n4:cpu,cpuacct:/a\n3:memory:/b\n");
  Put("fs/cpu/a/cpu.cfs_quota_us", "50000\n");
  Put("fs/cpu/a/cpu.cfs_period_us", "100000\n");
  Put("fs/cpu/cpu.cfs_quota_us", "-1\n");
  Put("fs/cpu/cpu.cfs_period_us", "100000\n");
  Put("fs/memory/b/memory.limit_in_bytes", "9223372036854771712\n");
  Put("fs/memory/memory.limit_in_bytes", "2000000\n");
  EXPECT_EQ(Read().cpus, 0.5);
  EXPECT_EQ(Read().memory_bytes, 2000000);
}

// The path of the host means nothing inside a container; the root is the container's own.
TEST_F(Cgroup, ThatOnlyTheHostSeesIsReadAtTheRoot) {
  Put("self", "0::/../../kubepods/pod1\n");
  Put("fs/cpu.max", "200000 100000\n");
  Put("kubepods/pod1/cpu.max", "1 100000\n");
  EXPECT_EQ(Read().cpus, 2.0);
}

TEST_F(Cgroup, WithOddNumbersSetsNoLimit) {
  Put("self", "0::/\n");
  for (const char* text : {"", "x", "100000", "100000 0", "-5 100000", "0 100000", "1e999 1"}) {
    Put("fs/cpu.max", text);
    Put("fs/memory.max", text);
    EXPECT_FALSE(Read().cpus) << text;
  }
}

}  // namespace
}  // namespace tradewind::engine
