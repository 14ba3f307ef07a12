import { VizOrientation, getDisplayValueAlignmentFactors } from '@grafana/data';
import { BigValue, VizRepeater } from '@grafana/ui';

import type { Drawn } from './drawn';
import { reduced } from './fields';

/** Large numbers, laid out and coloured by Grafana's own components. */
export function Stat(drawn: Drawn) {
  const { panel, theme, width, height } = drawn;
  const options = panel.options ?? {};
  const values = reduced(drawn);
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width: w, height: h, alignmentFactors, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={options.colorMode ?? 'value'}
          graphMode={options.graphMode ?? 'area'}
          justifyMode={options.justifyMode ?? 'auto'}
          textMode={options.textMode ?? 'auto'}
          text={options.text}
          alignmentFactors={alignmentFactors}
          percentChangeColorMode={options.percentChangeColorMode}
          disableWideLayout={options.wideLayout === false}
          theme={theme}
          width={w}
          height={h}
        />
      )}
      width={width}
      height={height}
      source={values}
      itemSpacing={3}
      renderCounter={0}
      autoGrid={true}
      orientation={options.orientation ?? VizOrientation.Auto}
    />
  );
}
