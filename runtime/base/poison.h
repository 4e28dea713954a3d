/* Tells AddressSanitizer which bytes of our own free lists are free, so that use after give is caught as use after free is.
 * Nothing at all in other builds. */
#ifndef GW_BASE_POISON_H
#define GW_BASE_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define GW_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GW_POISONS 1
#endif
#endif

#ifdef GW_POISONS
#include <stddef.h>
/* As in sanitizer/asan_interface.h, but saying that the bytes are not read, which gcc would take for a use before any was set. */
#if defined(__GNUC__) && !defined(__clang__)
#define GW_NO_ACCESS __attribute__((access(none, 1)))
#else
#define GW_NO_ACCESS
#endif
void __asan_poison_memory_region(void const volatile *ptr, size_t bytes) GW_NO_ACCESS;
void __asan_unpoison_memory_region(void const volatile *ptr, size_t bytes) GW_NO_ACCESS;
#define gw_poison(ptr, bytes) __asan_poison_memory_region((ptr), (bytes))
#define gw_unpoison(ptr, bytes) __asan_unpoison_memory_region((ptr), (bytes))
#else
#define gw_poison(ptr, bytes) ((void)(ptr), (void)(bytes))
#define gw_unpoison(ptr, bytes) ((void)(ptr), (void)(bytes))
#endif

#endif
