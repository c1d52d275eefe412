/* The models' own headers come from the conversion: include those. */
#ifndef SECATEUR_H
#define SECATEUR_H
#endif
