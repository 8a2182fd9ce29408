# One seed is one history, whatever the process: -DSIMULATE=program.
foreach(SEED RANGE 1 20)
  foreach(RUN a b)
    execute_process(COMMAND ${SIMULATE} --seed ${SEED} -v OUTPUT_VARIABLE TOLD_${RUN}
      RESULT_VARIABLE CODE)
    if(NOT CODE EQUAL 0)
      message(FATAL_ERROR "seed ${SEED} ended with ${CODE}")
    endif()
  endforeach()
  if(NOT TOLD_a STREQUAL TOLD_b)
    message(FATAL_ERROR "seed ${SEED} was two histories")
  endif()
endforeach()
