import { VizOrientation, getDisplayValueAlignmentFactors } from '@grafana/data';
import { BarGauge as Bar, VizRepeater } from '@grafana/ui';

import type { Drawn } from './drawn';
import { reduced } from './fields';

/** Bars with their numbers, drawn by Grafana's own component. */
export function BarGauge(drawn: Drawn) {
  const { panel, theme, width, height } = drawn;
  const options = panel.options ?? {};
  const values = reduced(drawn);
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width: w, height: h, orientation, alignmentFactors }) => (
        <Bar
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex!) ?? undefined}
          text={options.text}
          width={w}
          height={h}
          orientation={orientation}
          theme={theme}
          itemSpacing={8}
          lcdCellWidth={12}
          displayMode={options.displayMode ?? 'gradient'}
          showUnfilled={options.showUnfilled ?? true}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
          alignmentFactors={alignmentFactors}
        />
      )}
      width={width}
      height={height}
      source={values}
      itemSpacing={10}
      renderCounter={0}
      minVizWidth={options.minVizWidth}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      orientation={options.orientation ?? VizOrientation.Horizontal}
    />
  );
}
