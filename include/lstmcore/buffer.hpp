// Memory that is reused: grows when it must, never shrinks, aligned to cache lines.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace lstmcore {

template <class S>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), capacity_(other.capacity_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Buffer() { ::operator delete(data_, kAlign); }

  // Room for n scalars; what was there is lost when it has to grow.
  S* reserve(std::ptrdiff_t n) {
    if (n > capacity_) {
      ::operator delete(std::exchange(data_, nullptr), kAlign);
      capacity_ = 0;
      data_ = static_cast<S*>(::operator new(static_cast<std::size_t>(n) * sizeof(S), kAlign));
      capacity_ = n;
    }
    return data_;
  }
  S* data() { return data_; }
  const S* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlign{64};
  S* data_ = nullptr;
  std::ptrdiff_t capacity_ = 0;
};

}  // namespace lstmcore
