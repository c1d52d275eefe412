/* Classifies a point once a second and says its outputs and how long it took. */
#include <inttypes.h>
#include <stdio.h>

#include <esp_timer.h>
#include <freertos/FreeRTOS.h>
#include <freertos/task.h>

#include <secateur.h> /* makes PlatformIO look into the library, which converts */

#include "model.h"

void app_main(void);
void app_main(void) {
  static const int8_t input[MODEL_INPUT_SIZE] = {10, 20};
  static int8_t output[MODEL_OUTPUT_SIZE];
  for (;;) {
    const int64_t began = esp_timer_get_time(); /* microseconds */
    const int status = model_run(input, output);
    const int64_t took = esp_timer_get_time() - began;
    if (status != MODEL_OK) printf("model_run gave %d\n", status);
    for (int i = 0; i < MODEL_OUTPUT_SIZE; i++) printf("%d ", output[i]);
    printf("(%" PRId64 " us)\n", took);
    vTaskDelay(pdMS_TO_TICKS(1000));
  }
}
