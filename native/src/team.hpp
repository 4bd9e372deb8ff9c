// Threads that wait for the same function to be run once by each of them.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace burst {

// All members arrive, then all go on. Spins a while, then lets others run: cores may be shared.
class Barrier {
  public:
    explicit Barrier(int members) : members_(members) {}
    void arrive();

  private:
    const int members_;
    std::atomic<int> arrived_{0};
    std::atomic<unsigned> round_{0};
};

class Team {
  public:
    explicit Team(int members);  // the caller is member 0
    ~Team();
    void run(const std::function<void(int)>& work);
    Barrier& barrier() { return barrier_; }

  private:
    void serve(int member);

    Barrier barrier_;
    std::atomic<unsigned> task_{0};
    std::atomic<int> running_{0};
    std::atomic<bool> stop_{false};
    const std::function<void(int)>* work_ = nullptr;
    std::vector<std::thread> threads_;
};

}  // namespace burst
