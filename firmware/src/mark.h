/* The trigger pin of ports that pull it low and let it go for high. A port defines mark_start,
 * MARK_BIT and the registers MARK_RELEASE and MARK_PULL, into which the bit is written. */
#if defined(SECATEUR_MARK)
void port_mark(int level) {
  if (level)
    MARK_RELEASE = MARK_BIT;
  else
    MARK_PULL = MARK_BIT;
}
#else
static void mark_start(void) {}
#endif
