/* Included before everything else of the data plane (build.py): what it calls of the system is the model's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <Python.h>

void *model_malloc(size_t size);
void *model_calloc(size_t count, size_t size);
void model_free(void *at);
void *model_memcpy(void *to, const void *from, size_t len);
void *model_memmove(void *to, const void *from, size_t len);
void *model_memset(void *at, int value, size_t len);
int model_memcmp(const void *a, const void *b, size_t len);
void model_cleanse(void *at, size_t len);
int model_mutex_init(pthread_mutex_t *at, const pthread_mutexattr_t *attributes);
int model_mutex_destroy(pthread_mutex_t *at);
int model_mutex_lock(pthread_mutex_t *at);
int model_mutex_unlock(pthread_mutex_t *at);
int model_cond_init(pthread_cond_t *at, const pthread_condattr_t *attributes);
int model_cond_destroy(pthread_cond_t *at);
int model_cond_wait(pthread_cond_t *at, pthread_mutex_t *lock);
int model_cond_signal(pthread_cond_t *at);
int model_cond_broadcast(pthread_cond_t *at);
int model_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg);
int model_join(pthread_t thread, void **result);
pthread_t model_pthread_self(void);
int model_eventfd(unsigned int initial, int flags);
int model_eventfd_write(int fd, uint64_t value);
int model_eventfd_read(int fd, uint64_t *value);
int model_close(int fd);
int model_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int model_usleep(unsigned int us);
int model_nothing(void);
ssize_t model_read(int fd, void *to, size_t room);
ssize_t model_write(int fd, const void *from, size_t len);
ssize_t model_writev(int fd, const struct iovec *iov, int count);
int model_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
int model_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout);
int model_memalign(void **memory, size_t alignment, size_t size);
int model_clock_gettime(clockid_t clock, struct timespec *now);
void model_relax(void);

#define malloc model_malloc
#define calloc model_calloc
#define free model_free
#define memcpy model_memcpy
#define memmove model_memmove
#define memset model_memset
#define memcmp model_memcmp
#define OPENSSL_cleanse model_cleanse
#define pthread_mutex_init model_mutex_init
#define pthread_mutex_destroy model_mutex_destroy
#define pthread_mutex_lock model_mutex_lock
#define pthread_mutex_unlock model_mutex_unlock
#define pthread_cond_init model_cond_init
#define pthread_cond_destroy model_cond_destroy
#define pthread_cond_wait model_cond_wait
#define pthread_cond_signal model_cond_signal
#define pthread_cond_broadcast model_cond_broadcast
#define pthread_create model_create
#define pthread_join model_join
#define pthread_self model_pthread_self
#define pthread_setname_np(thread, name) model_nothing()
#define eventfd model_eventfd
#define eventfd_write model_eventfd_write
#define eventfd_read model_eventfd_read
#define close model_close
#define poll model_poll
#define usleep model_usleep
#define read model_read
#define write model_write
#define writev model_writev
#define sendmmsg model_sendmmsg
#define recvmmsg model_recvmmsg
#define posix_memalign model_memalign
#define pthread_sigmask(how, mask, old) model_nothing()
#define clock_gettime model_clock_gettime
#define pywg_relax model_relax
