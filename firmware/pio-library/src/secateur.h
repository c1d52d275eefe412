/* Include this before the model's own header: PlatformIO finds the library by it. */
#ifndef SECATEUR_H
#define SECATEUR_H
#endif
