/* What the boot ROMs of RP2040 and RP2350 want to find at the start of flash. */
#if defined(SECATEUR_PORT_RP2040)
#include <stdint.h>

/* 252 bytes that map the flash and jump to the vectors behind them, and their CRC-32:
 *     ldr r3, =0x18000000         the flash interface
 *     off; divider 4; 32-bit frames, read mode; command 03h with 24 address bits; on
 *     ldr r0, =0x10000100         vector table register, stack pointer, reset vector */
__attribute__((section(".boot"), used)) const uint32_t rp2040_boot[64] = {
    0x21004B0A, 0x21046099, 0x49096159, 0x21006019, 0x49086059, 0x501920F4,
    0x60992101, 0x49074806, 0xC8036008, 0x8808F380, 0x00004708, 0x18000000,
    0x001F0300, 0x03000218, 0x10000100, 0xE000ED08,
    [63] = 0x0B216445,
};
#elif defined(SECATEUR_PORT_RP2350)
#include <stdint.h>

/* The smallest image definition for the RP2350 (datasheet, 5.9.5): an executable for RISC-V, which
 * is entered where the image begins, or for Arm, secure. */
#if defined(__riscv)
#define IMAGE 0x11010142
#else
#define IMAGE 0x10210142
#endif
__attribute__((section(".image_definition"), used)) const uint32_t rp2350_image[5] = {
    0xFFFFDED3, IMAGE, 0x000001FF, 0x00000000, 0xAB123579};
#else
typedef int secateur_not_rp2_start;
#endif
